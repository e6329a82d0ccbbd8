-- What tells whether anything made of forecasting.daily would be made otherwise now: the number of changes so far, NULL
-- where nobody counts them, and the time zones of a source's sites, whose days end at other times. Always one row.
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
        where sites.source = $1::text
    ) as timezones;
