-- The first whole day on which Umami counted visits as it has since 2.11, if this Umami has older events: the migration
-- gave those an artificial visit_id per hour and session. A fresh install runs all migrations within minutes: events that
-- are older were imported, with their own visits.
-- $1 text     time zone
select ((migration.finished_at at time zone $1::text)::date + 1) as day
from _prisma_migrations as migration
where
    migration.migration_name = '05_add_visit_id'
    and migration.finished_at >= '1990-01-01'
    and migration.finished_at < now() + interval '1 day'
    and migration.rolled_back_at is null
    and not exists (
        select from _prisma_migrations as first_migration
        where
            first_migration.migration_name = '01_init'
            and first_migration.finished_at > migration.finished_at - interval '1 hour'
    )
    and exists (
        select from website_event as event
        where event.created_at < migration.finished_at
    );
