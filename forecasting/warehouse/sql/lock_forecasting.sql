-- Only one transaction at a time may create or update our own schema. The lock is held until the transaction ends, and
-- its changes of forecasting.daily are not counted as those of others.
select
    pg_advisory_xact_lock(hashtextextended('website-traffic-forecasting', 0)),
    set_config('forecasting.is_update', 'on', true);
