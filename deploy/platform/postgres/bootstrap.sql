-- Made by `quad generate` from the declarations of the services; do not edit.
--
-- For a PostgreSQL server that is not of this cluster: its administrator runs it with psql, as
-- often as they like, each time with all passwords:
--
--   psql "$ADMIN_URL" -v checkout_owner="$(...)" -v checkout="$(...)" ... -f bootstrap.sql
--
-- with -v for each of: checkout_owner, checkout, inventory_owner, inventory, payment_owner, payment, order_owner, order, b2b_owner, b2b, identity_owner, identity, cart_owner, cart, catalog_owner, catalog, customer_owner, customer, price_owner, price, workflow, auditor.
\set ON_ERROR_STOP on
select 'create role "checkout_owner" login' where not exists (select from pg_roles where rolname = 'checkout_owner') \gexec
alter role "checkout_owner" login password :'checkout_owner';
select 'create role "checkout" login' where not exists (select from pg_roles where rolname = 'checkout') \gexec
alter role "checkout" login password :'checkout';
select 'create role "inventory_owner" login' where not exists (select from pg_roles where rolname = 'inventory_owner') \gexec
alter role "inventory_owner" login password :'inventory_owner';
select 'create role "inventory" login' where not exists (select from pg_roles where rolname = 'inventory') \gexec
alter role "inventory" login password :'inventory';
select 'create role "payment_owner" login' where not exists (select from pg_roles where rolname = 'payment_owner') \gexec
alter role "payment_owner" login password :'payment_owner';
select 'create role "payment" login' where not exists (select from pg_roles where rolname = 'payment') \gexec
alter role "payment" login password :'payment';
select 'create role "order_owner" login' where not exists (select from pg_roles where rolname = 'order_owner') \gexec
alter role "order_owner" login password :'order_owner';
select 'create role "order" login' where not exists (select from pg_roles where rolname = 'order') \gexec
alter role "order" login password :'order';
select 'create role "b2b_owner" login' where not exists (select from pg_roles where rolname = 'b2b_owner') \gexec
alter role "b2b_owner" login password :'b2b_owner';
select 'create role "b2b" login' where not exists (select from pg_roles where rolname = 'b2b') \gexec
alter role "b2b" login password :'b2b';
select 'create role "identity_owner" login' where not exists (select from pg_roles where rolname = 'identity_owner') \gexec
alter role "identity_owner" login password :'identity_owner';
select 'create role "identity" login' where not exists (select from pg_roles where rolname = 'identity') \gexec
alter role "identity" login password :'identity';
select 'create role "cart_owner" login' where not exists (select from pg_roles where rolname = 'cart_owner') \gexec
alter role "cart_owner" login password :'cart_owner';
select 'create role "cart" login' where not exists (select from pg_roles where rolname = 'cart') \gexec
alter role "cart" login password :'cart';
select 'create role "catalog_owner" login' where not exists (select from pg_roles where rolname = 'catalog_owner') \gexec
alter role "catalog_owner" login password :'catalog_owner';
select 'create role "catalog" login' where not exists (select from pg_roles where rolname = 'catalog') \gexec
alter role "catalog" login password :'catalog';
select 'create role "customer_owner" login' where not exists (select from pg_roles where rolname = 'customer_owner') \gexec
alter role "customer_owner" login password :'customer_owner';
select 'create role "customer" login' where not exists (select from pg_roles where rolname = 'customer') \gexec
alter role "customer" login password :'customer';
select 'create role "price_owner" login' where not exists (select from pg_roles where rolname = 'price_owner') \gexec
alter role "price_owner" login password :'price_owner';
select 'create role "price" login' where not exists (select from pg_roles where rolname = 'price') \gexec
alter role "price" login password :'price';
select 'create role "workflow" login' where not exists (select from pg_roles where rolname = 'workflow') \gexec
alter role "workflow" login password :'workflow';
select 'create role "auditor" login' where not exists (select from pg_roles where rolname = 'auditor') \gexec
alter role "auditor" login password :'auditor';
grant pg_read_all_data to "auditor";
alter role "auditor" set default_transaction_read_only = on;

select 'create database "checkout" owner checkout_owner' where not exists (select from pg_database where datname = 'checkout') \gexec
revoke connect on database "checkout" from public;
grant connect on database "checkout" to "checkout", auditor;
select 'create database "inventory" owner inventory_owner' where not exists (select from pg_database where datname = 'inventory') \gexec
revoke connect on database "inventory" from public;
grant connect on database "inventory" to "inventory", auditor;
select 'create database "payment" owner payment_owner' where not exists (select from pg_database where datname = 'payment') \gexec
revoke connect on database "payment" from public;
grant connect on database "payment" to "payment", auditor;
select 'create database "order" owner order_owner' where not exists (select from pg_database where datname = 'order') \gexec
revoke connect on database "order" from public;
grant connect on database "order" to "order", auditor;
select 'create database "b2b" owner b2b_owner' where not exists (select from pg_database where datname = 'b2b') \gexec
revoke connect on database "b2b" from public;
grant connect on database "b2b" to "b2b", auditor;
select 'create database "identity" owner identity_owner' where not exists (select from pg_database where datname = 'identity') \gexec
revoke connect on database "identity" from public;
grant connect on database "identity" to "identity", auditor;
select 'create database "cart" owner cart_owner' where not exists (select from pg_database where datname = 'cart') \gexec
revoke connect on database "cart" from public;
grant connect on database "cart" to "cart", auditor;
select 'create database "catalog" owner catalog_owner' where not exists (select from pg_database where datname = 'catalog') \gexec
revoke connect on database "catalog" from public;
grant connect on database "catalog" to "catalog", auditor;
select 'create database "customer" owner customer_owner' where not exists (select from pg_database where datname = 'customer') \gexec
revoke connect on database "customer" from public;
grant connect on database "customer" to "customer", auditor;
select 'create database "price" owner price_owner' where not exists (select from pg_database where datname = 'price') \gexec
revoke connect on database "price" from public;
grant connect on database "price" to "price", auditor;
select 'create database workflow owner workflow' where not exists (select from pg_database where datname = 'workflow') \gexec
revoke connect on database workflow from public;
grant connect on database workflow to auditor;
