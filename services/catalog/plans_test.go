package catalog

import (
	"net/http"
	"testing"

	"quadrille.internal/platform/service"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/catalog/search"
)

// shop is a catalog of some size, with its index.
var shop = []string{
	`insert into categories select 'c' || i, 'Category ' || i, null, 1 from generate_series(1, 200) i`,
	`insert into products
	select 'p' || i, 'published', 'Lamp w' || i % 500, '', jsonb_build_array('c' || i % 200), '[]', jsonb_build_array(jsonb_build_object('sku', 's' || i, 'title', '', 'attributes', '[]'::jsonb)), '[]',
		now() - i * interval '1 minute', null, 1
	from generate_series(1, 20000) i`,
	`insert into product_skus select 's' || i, 'p' || i from generate_series(1, 20000) i`,
	`insert into stock_view select 's' || i, 1, false, '{"in_stock": true}' from generate_series(1, 20000) i`,
	`insert into price_view select 's' || i, 1, false, '{"prices": []}' from generate_series(1, 20000) i`,
	`delete from search_changes`,
	`insert into search_changes (product_id, claimed_until) select 'p' || i, 'infinity' from generate_series(1, 3000) i`,
	`insert into search_changes (product_id) select 'p' || i from generate_series(1, 20) i`,
	`insert into search_versions select 'p' || i, 1 from generate_series(1, 20000) i`,
	`insert into search_indexes (name, engine, status) values ('a', 'postgres', 'live')`,
	`insert into search_documents_a
	select 'p' || i, 1, false, 1, ('lamp:1A w' || i % 500 || ':1A')::tsvector, array['category=c' || i % 200, 'colour=c' || i % 7], 'lamp w' || i % 500, 17, i, true, now() - i * interval '1 minute'
	from generate_series(1, 20000) i`,
	`insert into search_words (word) select 'lamp' union all select 'w' || i from generate_series(0, 499) i union all select 'x' || md5(i::text) from generate_series(1, 20000) i`,
}

func TestPlans(t *testing.T) {
	servicetest.CheckPlans(t, Service(), shop, []string{
		"products_pkey", "product_skus_pkey", "product_skus_products", "stock_view_pkey", "price_view_pkey", "search_changes_pkey", "search_versions_pkey",
		"search_documents_a_pkey", "search_documents_a_words", "search_documents_a_newest", "search_words_word_key", "search_words_parts",
	}, func(t *testing.T, kit *service.Kit) {
		f := fixtureOn(t, kit, search.NewPostgres(kit.Pool))
		if _, err := f.indexer.batch(t.Context()); err != nil {
			t.Error(err)
		}
		f.stock(t, 2, 0, "s7")
		f.prices(t, 2, "s7", 5)
		for _, query := range []string{"", "q=w77", "q=w77+lamp&facet=colour", "q=amp&category=c7", "q=xlmp"} {
			if a := f.public.Do(http.MethodGet, "/v1/search?"+query, ""); a.Status != http.StatusOK {
				t.Errorf("%s: %d %s", query, a.Status, a.Body)
			}
		}
		f.importLines(t, line("p7", "Lamp w8"))
		for _, path := range []string{"/v1/products", "/v1/products?sku=s8", "/v1/products/p8"} {
			if a := f.public.Do(http.MethodGet, path, ""); a.Status != http.StatusOK {
				t.Errorf("%s: %d %s", path, a.Status, a.Body)
			}
		}
	})
}
