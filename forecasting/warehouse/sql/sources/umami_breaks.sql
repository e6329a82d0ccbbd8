-- The first whole day of visits as they are counted since Umami 2.11, where this Umami is older than that: the
-- migration gave older events a made visit_id, one an hour and session.
-- $1 text     time zone
select ((migration.finished_at at time zone $1::text)::date + 1) as day
from _prisma_migrations as migration
where
    migration.migration_name = '05_add_visit_id'
    and exists (
        select from website_event as event
        where event.created_at < migration.finished_at
    );
