import type { ConnectionState } from '@flux-etl/sdk';
import { useCallback, useEffect, useState } from 'react';

import { Problem } from './components/problem.tsx';
import { callbackPath, finishSignIn } from './oidc.ts';
import { navigate } from './router.tsx';
import {
  developmentTokens,
  openSession,
  rememberedIdentity,
  rememberIdentity,
  type Session,
  type SignInWays,
  signInWays,
  type TokenGiver,
} from './session.ts';
import { Shell } from './shell.tsx';
import { SignIn } from './sign-in.tsx';
import { SessionContext } from './use-session.ts';
import { Routes } from './routes.tsx';

/** The dashboard: asks how one signs in, signs in, and shows the page of the address. */
export function App() {
  const [ways, setWays] = useState<SignInWays | null>(null);
  const [session, setSession] = useState<Session | null>(null);
  const [connection, setConnection] = useState<ConnectionState | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(true);

  const enter = useCallback(async (tokens: TokenGiver): Promise<void> => {
    setBusy(true);
    setError(null);
    try {
      setSession(await openSession(tokens, setConnection));
    } catch (cause) {
      rememberIdentity(null);
      setError(cause);
    } finally {
      setBusy(false);
    }
  }, []);

  useEffect(() => {
    void begin().catch((cause: unknown) => {
      setError(cause);
      setBusy(false);
    });
    async function begin(): Promise<void> {
      const found = await signInWays();
      setWays(found);
      if (location.pathname === callbackPath) {
        const { tokens, returnTo } = await finishSignIn(found.providers);
        navigate(returnTo, { replace: true });
        return enter(tokens);
      }
      const identity = found.development && rememberedIdentity();
      if (identity) return enter(developmentTokens(identity));
      setBusy(false);
    }
  }, [enter]);

  const leave = (): void => {
    rememberIdentity(null);
    session?.flux.close();
    setSession(null);
    setConnection(null);
  };

  return (
    <SessionContext value={session}>
      <Shell session={session} connection={connection} onLeave={leave}>
        {session ? (
          <Routes />
        ) : busy ? (
          <p className="loading">Signing in …</p>
        ) : ways ? (
          <SignIn
            ways={ways}
            error={error}
            busy={busy}
            onDevelopment={(identity) => {
              rememberIdentity(identity);
              void enter(developmentTokens(identity));
            }}
          />
        ) : (
          <Problem error={error} title="The dashboard cannot start" />
        )}
      </Shell>
    </SessionContext>
  );
}
