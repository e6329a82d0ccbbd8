-- What the blocks of a source's days were like when they were last read.
-- $1 text     source
-- $2 date     first day
select blocks.key, blocks.first_day, blocks.source_hash, blocks.num_kept, blocks.kept_first, blocks.kept_last
from forecasting.blocks
where blocks.source = $1::text and blocks.first_day >= $2::date;
