-- What this version of Umami has, judged by its columns and tables. Always one row.
select
    exists (
        select from pg_catalog.pg_attribute as attribute
        where
            attribute.attrelid = to_regclass('website_event')
            and attribute.attname = 'visit_id'
            and not attribute.attisdropped
    ) as has_visits,
    to_regclass('website_engagement') is not null as has_engagement,
    coalesce(has_table_privilege(to_regclass('annotation'), 'select'), false) as has_annotations,
    coalesce(has_table_privilege(to_regclass('_prisma_migrations'), 'select'), false) as has_migrations,
    array(
        select optional.name
        from unnest(array['annotation', '_prisma_migrations']) as optional (name)
        where not has_table_privilege(to_regclass(optional.name), 'select')
    ) as unreadable,
    current_user::text as reader;
