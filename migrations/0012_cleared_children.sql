-- What: what hangs from a run exists for a caller of the API only when the run does.
-- Why: a run above the caller's clearance did not exist, but its events, partitions, checkpoints and rejected records, asked for by
-- the run's id, did. A query that joins the run was safe, and the next one that forgets to would not have been.
-- For the API's login alone: an agency's own logins are cleared for all of it, and the definer claims for every agency.
-- Locks: short exclusive locks on seven tables; no table is rewritten. Old code: works on.

create policy cleared on flux.run_partitions as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = run_partitions.agency_id and r.run_id = run_partitions.run_id))
  with check (exists (select from flux.runs r where r.agency_id = run_partitions.agency_id and r.run_id = run_partitions.run_id));
create policy cleared on flux.run_events as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = run_events.agency_id and r.run_id = run_events.run_id))
  with check (exists (select from flux.runs r where r.agency_id = run_events.agency_id and r.run_id = run_events.run_id));
create policy cleared on flux.checkpoints as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = checkpoints.agency_id and r.run_id = checkpoints.run_id))
  with check (exists (select from flux.runs r where r.agency_id = checkpoints.agency_id and r.run_id = checkpoints.run_id));
create policy cleared on flux.rejected_records as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = rejected_records.agency_id and r.run_id = rejected_records.run_id))
  with check (exists (select from flux.runs r where r.agency_id = rejected_records.agency_id and r.run_id = rejected_records.run_id));
create policy cleared on flux.step_counts as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = step_counts.agency_id and r.run_id = step_counts.run_id))
  with check (exists (select from flux.runs r where r.agency_id = step_counts.agency_id and r.run_id = step_counts.run_id));
create policy cleared on flux.source_objects as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = source_objects.agency_id and r.run_id = source_objects.run_id))
  with check (exists (select from flux.runs r where r.agency_id = source_objects.agency_id and r.run_id = source_objects.run_id));
create policy cleared on flux.loads as restrictive to flux_api
  using (exists (select from flux.runs r where r.agency_id = loads.agency_id and r.run_id = loads.run_id))
  with check (exists (select from flux.runs r where r.agency_id = loads.agency_id and r.run_id = loads.run_id));
