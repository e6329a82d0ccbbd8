-- Whether the documented backend's events have any row.
select exists (select from page_visits) as has_rows;
