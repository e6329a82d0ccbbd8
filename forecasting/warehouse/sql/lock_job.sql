-- Whether this transaction is the only one that has the lock of the daily job, which it holds until it ends. It may be
-- idle for as long as the job takes. If its host is gone without a word, the lock is free after two minutes.
select
    pg_try_advisory_xact_lock(hashtextextended('website-traffic-forecasting daily', 0)) as has_lock,
    set_config('idle_in_transaction_session_timeout', '0', true),
    set_config('tcp_keepalives_idle', '60', true),
    set_config('tcp_keepalives_interval', '10', true),
    set_config('tcp_keepalives_count', '6', true);
