import { createContext, useContext } from 'react';

import type { Session } from './session.ts';

export const SessionContext = createContext<Session | null>(null);

/** Who is signed in; every page is shown to somebody. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (!session) throw new Error('This is shown after sign-in only.');
  return session;
}
