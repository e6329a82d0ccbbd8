-- Whether a cause was told on a day.
-- $1 text  cause
-- $2 date  day
select exists (
    select from forecasting.messages where cause = $1::text and day = $2::date
) as is_told;
