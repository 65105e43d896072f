--
-- For a PostgreSQL server that is not of this cluster: its administrator runs it with psql, as
-- often as they like, each time with all passwords:
--
--   psql "$ADMIN_URL" {{range $i, $r := .Roles}}{{if lt $i 2}}-v {{$r.Name}}="$(...)" {{end}}{{end}}... -f bootstrap.sql
--
-- with -v for each of: {{range $i, $r := .Roles}}{{if $i}}, {{end}}{{$r.Name}}{{end}}.
\set ON_ERROR_STOP on
{{- range .Roles}}
select 'create role "{{.Name}}" login' where not exists (select from pg_roles where rolname = '{{.Name}}') \gexec
alter role "{{.Name}}" login password :'{{.Name}}';
{{- end}}
{{- range .AuditorRights}}
{{.}};
{{- end}}
{{range .Databases}}
select 'create database "{{.}}" owner {{.}}_owner' where not exists (select from pg_database where datname = '{{.}}') \gexec
revoke connect on database "{{.}}" from public;
grant connect on database "{{.}}" to "{{.}}", {{$.Auditor}};
{{- end}}
{{- with .Workflows}}
select 'create database {{.}} owner {{.}}' where not exists (select from pg_database where datname = '{{.}}') \gexec
revoke connect on database {{.}} from public;
grant connect on database {{.}} to {{$.Auditor}};
{{- end}}
