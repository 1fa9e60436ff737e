import { useId } from 'react';

interface VersionsProps {
  newest: number;
  shown: number;
  onShow: (version: string) => void;
}

/** Which version of a document is shown. There are all from 1 on: a registration never goes. */
export function Versions({ newest, shown, onShow }: VersionsProps) {
  const id = useId();
  if (newest < 2) return null;
  return (
    <div className="versions">
      <label className="usa-label" htmlFor={id}>
        Version
      </label>
      <select className="usa-select" id={id} value={shown} onChange={(event) => onShow(event.target.value)}>
        {Array.from({ length: newest }, (_, i) => newest - i).map((version) => (
          <option key={version} value={version}>
            {version}
            {version === newest ? ' (current)' : ''}
          </option>
        ))}
      </select>
    </div>
  );
}
