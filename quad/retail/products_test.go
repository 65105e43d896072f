package retail

import (
	"reflect"
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
16,85123A,TOO FEW
C17,85123A,,-1,2010-12-01 08:26:00,2.55,1,UK
`
	sold, err := Products(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	want := Sold{
		Lines:    17,
		Products: []Product{{"85123A", "WHITE HEART", 2}, {"DCGSSBOY", "BOYS PARTY BAG", 13}},
		LeftOut: []Left{
			{Charge, 4, []Lacked{{9, ""}, {10, ""}, {11, ""}, {12, ""}}},
			{Unreadable, 3, []Lacked{{14, `extraneous or missing " in quoted-field`}, {15, `bare " in non-quoted-field`}, {17, "3 fields, the header has 8"}}},
			{NoDescription, 2, []Lacked{{8, ""}, {18, ""}}},
			{Cancellation, 1, []Lacked{{7, ""}}},
			{BadCode, 1, []Lacked{{16, `"A B" is not 1 to 64 of A-Z 0-9 . _ -`}}},
			{NoPrice, 1, []Lacked{{6, "0.00"}}},
			{NoQuantity, 1, []Lacked{{5, "-10"}}},
		},
		Unnamed: 6,
	}
	if !reflect.DeepEqual(*sold, want) {
		t.Errorf("found\n%+v, want\n%+v", *sold, want)
	}
	for _, text := range []string{"", "a,b\n1,2\n"} {
		if _, err := Products(strings.NewReader(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// Each line describes a product or is left out; of a reason that many have, the first are named.
func TestLinesLeftOutAddUp(t *testing.T) {
	sold, err := Products(strings.NewReader(head + strings.Repeat("C1,10001,X,-1,2020-01-01,1.0,,UK\n", 7) + "\n1,10001,X,1,2020-01-01,1.0,,UK\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := Sold{
		Lines:    9,
		Products: []Product{{"10001", "X", 10}},
		LeftOut: []Left{
			{Cancellation, 7, []Lacked{{2, ""}, {3, ""}, {4, ""}, {5, ""}, {6, ""}}},
			{Unreadable, 1, []Lacked{{9, "the line is blank"}}},
		},
	}
	if !reflect.DeepEqual(*sold, want) {
		t.Errorf("found\n%+v, want\n%+v", *sold, want)
	}
}
