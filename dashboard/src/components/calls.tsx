import { memo } from 'react';

interface CallsProps {
  /** Left out where no command does the same. */
  cli?: string;
  sdk: string;
  curl: string;
}

/** The same thing by the other ways: what one has clicked together can be scripted. */
export const Calls = memo(function Calls({ cli, sdk, curl }: CallsProps) {
  return (
    <details className="calls">
      <summary>The same as a command or a program</summary>
      {cli !== undefined && <Call title="Command line" text={cli} />}
      <Call title="SDK" text={sdk} />
      <Call title="curl" text={curl} />
    </details>
  );
});

function Call({ title, text }: { title: string; text: string }) {
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <pre tabIndex={0} role="region" aria-label={title}>
        {text}
      </pre>
    </figure>
  );
}

/** A question to the REST face: `/runs?first=20`. */
export function restCall(path: string): string {
  return `curl '${location.origin}/v1/rest${path}' -H "authorization: Bearer $FLUX_TOKEN"`;
}

/** A request to the REST face that changes something. */
export function restChange(path: string, input: object): string {
  return `curl -X POST ${location.origin}/v1/rest${path} -H "authorization: Bearer $FLUX_TOKEN" \\\n  -H 'content-type: application/json' -d ${quoted(JSON.stringify(input))}`;
}

/** A text as a shell takes it, whatever is in it. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
