-- Moves the verdicts in `new_verdicts` to forecasting.daily.
with moved as (
    delete from new_verdicts as judged
    returning judged.site, judged.metric, judged.day, judged.verdict
)

update forecasting.daily as stored
set verdict = moved.verdict
from moved
where stored.site = moved.site and stored.metric = moved.metric and stored.day = moved.day;
