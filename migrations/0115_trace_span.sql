-- The span under which a run was queued, so that a worker's spans are of the same trace (W3C Trace Context, section 3.2.2.4). Null when
-- nothing traced the request, or it was not sampled.
alter table flux.runs add column trace_span text check (trace_span ~ '^[0-9a-f]{16}$');
comment on column flux.runs.trace_span is 'The span of trace_id under which the run was queued: 16 hex digits.';
