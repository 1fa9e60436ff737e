import type { InputField } from '@flux-etl/sdk/inputs';
import { useId } from 'react';

import { words } from '../format.ts';

/** What has been typed, by the field's name. */
export type Typed = Readonly<Record<string, string>>;

interface InputFieldsProps {
  fields: readonly InputField[];
  typed: Typed;
  onType: (name: string, text: string) => void;
  /** Kinds of field that the API's types do not tell apart from text. */
  kinds?: Readonly<Record<string, 'date' | 'long'>>;
}

/** A form of an input of the API: its fields with its descriptions, so that what the API learns to take is asked for here. */
export function InputFields({ fields, typed, onType, kinds = {} }: InputFieldsProps) {
  const id = useId();
  return fields.map((field) => {
    const own = `${id}-${field.name}`;
    const shared = {
      id: own,
      name: field.name,
      required: field.required,
      'aria-describedby': `${own}-hint`,
      value: typed[field.name] ?? '',
    };
    const hint = (
      <span className="usa-hint" id={`${own}-hint`}>
        {field.description}
      </span>
    );
    if (field.type === 'Boolean') {
      return (
        <div className="usa-checkbox" key={field.name}>
          <input
            {...shared}
            className="usa-checkbox__input"
            type="checkbox"
            value="true"
            checked={typed[field.name] === 'true'}
            onChange={(event) => onType(field.name, event.target.checked ? 'true' : '')}
          />
          <label className="usa-checkbox__label" htmlFor={own}>
            {titleOf(field)}
          </label>
          {hint}
        </div>
      );
    }
    return (
      <div key={field.name}>
        <label className="usa-label" htmlFor={own}>
          {titleOf(field)}
          {!field.required && ' (optional)'}
        </label>
        {hint}
        {field.values ? (
          <select {...shared} className="usa-select" onChange={(event) => onType(field.name, event.target.value)}>
            <option value="">as the API does by itself</option>
            {field.values.map((value) => (
              <option key={value} value={value}>
                {words(value)}
              </option>
            ))}
          </select>
        ) : field.type === 'JSON' || kinds[field.name] === 'long' ? (
          <textarea
            {...shared}
            className="usa-textarea"
            rows={3}
            spellCheck={field.type !== 'JSON'}
            onChange={(event) => onType(field.name, event.target.value)}
          />
        ) : (
          <input
            {...shared}
            className="usa-input"
            type={field.type === 'Int' ? 'number' : kinds[field.name] === 'date' ? 'date' : 'text'}
            onChange={(event) => onType(field.name, event.target.value)}
          />
        )}
      </div>
    );
  });
}

/**
 * The input that was typed; what is empty is left out.
 *
 * @throws Error a field is no JSON, with the field's name
 */
export function inputOf(fields: readonly InputField[], typed: Typed): Record<string, unknown> {
  return Object.fromEntries(
    fields.flatMap((field) => {
      const text = (typed[field.name] ?? '').trim();
      return text === '' ? [] : [[field.name, valueOf(field, text)]];
    }),
  );
}

function valueOf(field: InputField, text: string): unknown {
  if (field.type === 'Int') return Number(text);
  if (field.type === 'Boolean') return text === 'true';
  if (field.type !== 'JSON') return text;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new Error(`${titleOf(field)} should be JSON, such as {"quarter": 3}.`);
  }
}

/** `firstDate` as people write it: `First date`. */
function titleOf({ name }: InputField): string {
  const spaced = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
