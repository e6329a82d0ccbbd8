-- The verdicts in `judged`, once.
with taken as (
    delete from judged
    returning judged.site, judged.metric, judged.day, judged.verdict
)

update forecasting.daily as stored
set verdict = taken.verdict
from taken
where stored.site = taken.site and stored.metric = taken.metric and stored.day = taken.day;
