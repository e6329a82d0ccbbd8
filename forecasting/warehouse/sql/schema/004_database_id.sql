-- Databases that were made apart may have the same number of changes. This id tells them apart.
alter table forecasting.revision add column if not exists database_id uuid;
update forecasting.revision
set database_id = md5(random()::text || clock_timestamp()::text || pg_backend_pid()::text)::uuid
where database_id is null;

update forecasting.schema_version set number = 4 where number < 4;
