-- Records the rules by which all days of a source's sites were judged.
-- $1 text     source
-- $2 text     fingerprint of the rules
update forecasting.sites
set rules = $2::text
where sites.source = $1::text and sites.rules <> $2::text;
