-- Records a source's table as it was when its days were compared.
-- $1 text     source
-- $2 text     scope
-- $3 text     identity
-- $4 bigint   rows inserted,
-- $5 bigint   updated, and
-- $6 bigint   deleted
-- $7 timestamptz  since when events are read again anyway
-- $8 bigint   events since then
-- $9 bigint   events of the last minute
-- $10 timestamptz when all days were compared
insert into forecasting.comparisons (
    source, scope, identity, num_inserted, num_updated, num_deleted, recent_from, num_recent, num_newest, compared_at
)
values (
    $1::text, $2::text, $3::text, $4::bigint, $5::bigint, $6::bigint, $7::timestamptz, $8::bigint, $9::bigint,
    $10::timestamptz
)
on conflict (source, scope) do update
    set
        identity = excluded.identity,
        num_inserted = excluded.num_inserted,
        num_updated = excluded.num_updated,
        num_deleted = excluded.num_deleted,
        recent_from = excluded.recent_from,
        num_recent = excluded.num_recent,
        num_newest = excluded.num_newest,
        compared_at = excluded.compared_at;
