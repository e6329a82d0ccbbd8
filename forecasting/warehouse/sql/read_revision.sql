-- Tells whether something computed from forecasting.daily is still current: the number of changes so far (NULL if they
-- are not counted), and the time zones of the source's sites, which decide when their days end. Always one row.
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
    array(
        select distinct sites.timezone
        from forecasting.sites
        where sites.source = $1::text and sites.gone_at is null
    ) as timezones;
