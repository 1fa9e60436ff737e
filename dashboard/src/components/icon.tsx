/** Shapes that differ without their colours, each in a box of 16. */
const shapes = {
  clock: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1Zm0 2a5 5 0 1 0 0 10A5 5 0 0 0 8 3Zm1 1.5v3.2l2.3 1.4-1 1.7L7 8.9V4.5h2Z',
  play: 'M4 2.5v11l9.5-5.5L4 2.5Z',
  check: 'M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1Zm3.3 3.9L7 9.2 4.9 7.1 3.5 8.5 7 12l5.7-5.7-1.4-1.4Z',
  cross:
    'M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1L5.1 1Zm.3 3L4 5.4 6.6 8 4 10.6 5.4 12 8 9.4l2.6 2.6 1.4-1.4L9.4 8 12 5.4 10.6 4 8 6.6 5.4 4Z',
  hand: 'M3 2h10v12H3V2Zm2 2v8h6V4H5Z',
  stop: 'M2.5 2.5h11v11h-11v-11Z',
  dot: 'M8 3a5 5 0 1 1 0 10A5 5 0 0 1 8 3Z',
  ring: 'M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2Zm0 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8Z',
  warning: 'M8 1 15.5 14.5H.5L8 1ZM7 6v4h2V6H7Zm0 5v2h2v-2H7Z',
} as const;

export type IconName = keyof typeof shapes;

/** Decoration beside a text that says the same. */
export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={shapes[name]} />
    </svg>
  );
}
