-- Tells whether something computed from forecasting.daily is still current: the number of changes so far (NULL if they
-- are not counted), which database this is, and the time zones of the source's sites, which decide when their days end.
-- Always one row.
--
-- A promoted replica or a restored backup has the same database_id, and may come to the same number by other changes.
-- It has another start of its server, or its tables are others. A mere restart counts as another database, too.
-- $1 text     source
select
    (
        select revision.number
        from forecasting.revision
        where exists (
            select from pg_catalog.pg_trigger
            inner join pg_catalog.pg_class on pg_class.oid = tgrelid and relkind = 'r'
            where tgrelid = 'forecasting.daily'::regclass and tgname = 'count_updated' and tgenabled <> 'D'
        )
    ) as number,
    concat_ws(
        ' ',
        (select revision.database_id from forecasting.revision),
        extract(epoch from pg_postmaster_start_time()),
        'forecasting.daily'::regclass::oid
    ) as database,
    array(
        select distinct sites.timezone
        from forecasting.sites
        where sites.source = $1::text and sites.gone_at is null
    ) as timezones;
