package retail

import (
	"slices"
	"strings"
	"testing"
)

func TestProducts(t *testing.T) {
	const file = `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
1,85123A,WHITE HEART,6,2010-12-01 08:26:00,2.55,1,UK
2,85123a,WHITE HEART ,6,2010-12-01 08:26:00,2.55,1,UK
3,85123A,WHITE HANGING HEART,1,2010-12-01 08:26:00,2.55,1,UK
4,85123A,damaged,-10,2010-12-01 08:26:00,0,,UK
5,85123A,?,5,2010-12-01 08:26:00,0,,UK
C6,85123A,RETURNED HEART,-1,2010-12-01 08:26:00,2.55,1,UK
7,22423,,5,2010-12-01 08:26:00,1.00,,UK
8,POST,POSTAGE,1,2010-12-01 08:26:00,18.00,1,UK
9,D,Discount,1,2010-12-01 08:26:00,18.00,1,UK
10,M,Manual,1,2010-12-01 08:26:00,18.00,1,UK
11,gift_0001_20,GIFT VOUCHER,1,2010-12-01 08:26:00,20.00,1,UK
12,DCGSSBOY,BOYS   PARTY BAG,1,2010-12-01 08:26:00,0.835,1,UK
13,"broken
14,71053,LAMP "B",1,2010-12-01 08:26:00,1.00,1,UK
15,A B,ODD CODE,1,2010-12-01 08:26:00,1.00,1,UK
`
	found, skipped, err := Products(strings.NewReader(file))
	want := []Product{{"85123A", "WHITE HEART"}, {"DCGSSBOY", "BOYS PARTY BAG"}}
	if err != nil || !slices.Equal(found, want) || skipped != 6 {
		t.Errorf("found %v, skipped %d, %v, want %v", found, skipped, err, want)
	}
	for _, text := range []string{"", "a,b\n1,2\n"} {
		if _, _, err := Products(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
