-- The oldest day of a source that drops old events may have lost some of them: what was read of it before stays.
-- $1 text     source
delete from incoming
using forecasting.sites
where
    sites.source = $1::text
    and sites.key = incoming.key
    and incoming.day <= sites.first_day
    and exists (
        select from forecasting.daily as stored
        where stored.site = sites.site and stored.metric = incoming.metric and stored.day < sites.first_day
    );
