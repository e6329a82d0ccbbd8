-- Whether page_visits, the documented backend's events, has any row.
select exists (select from page_visits) as has_rows;
