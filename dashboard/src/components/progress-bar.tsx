import { percent, words } from '../format.ts';

interface ProgressBarProps {
  run: {
    status: string;
    isTerminal: boolean;
    progress?: { fraction?: number | null; stage?: string | null } | null;
    waitingReason?: { message: string } | null;
    failure?: { message: string } | null;
  };
}

/** How far a run is; or why it waits, or what ended it. */
export function ProgressBar({ run }: ProgressBarProps) {
  const { status, isTerminal, progress, waitingReason, failure } = run;
  if (failure) return <span className="reason">{failure.message}</span>;
  if (isTerminal) return null;
  if (waitingReason && status === 'PENDING') return <span className="reason">{waitingReason.message}</span>;
  const fraction = progress?.fraction ?? null;
  const stage = progress?.stage ? words(progress.stage) : 'working';
  return (
    <span className="progress">
      <progress max={1} aria-label={`Progress: ${stage}`} {...(fraction === null ? {} : { value: fraction })} />
      {stage} {fraction === null ? '' : percent(fraction)}
    </span>
  );
}
