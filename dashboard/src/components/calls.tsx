/** The same thing by the other ways: what one has clicked together can be scripted. */
export function Calls({ cli, sdk, curl }: { cli: string; sdk: string; curl?: string }) {
  return (
    <details className="calls">
      <summary>The same as a command or a program</summary>
      <Call title="Command line" text={cli} />
      <Call title="SDK" text={sdk} />
      {curl !== undefined && <Call title="curl" text={curl} />}
    </details>
  );
}

function Call({ title, text }: { title: string; text: string }) {
  return (
    <figure>
      <figcaption>{title}</figcaption>
      <pre tabIndex={0}>{text}</pre>
    </figure>
  );
}
