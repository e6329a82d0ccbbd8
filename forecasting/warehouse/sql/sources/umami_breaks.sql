-- The first whole day on which Umami counted visits as it has since 2.11, if this Umami has older events: the migration
-- gave those an artificial visit_id per hour and session.
-- $1 text     time zone
select ((migration.finished_at at time zone $1::text)::date + 1) as day
from _prisma_migrations as migration
where
    migration.migration_name = '05_add_visit_id'
    and exists (
        select from website_event as event
        where event.created_at < migration.finished_at
    );
