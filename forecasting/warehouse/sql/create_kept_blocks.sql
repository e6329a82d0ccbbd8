-- Receives what is kept of blocks of days. Dropped when the transaction ends.
create temporary table kept_blocks (
    key text,
    block integer,
    num_days bigint,
    first_day date,
    last_day date
) on commit drop;
