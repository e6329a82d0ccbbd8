-- The oldest day of a source that deletes old events may be incomplete: if the day is already stored, the stored values
-- stay.
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
