package main

import "strings"

// currencies are those the provider's account can be charged in. As with real
// providers these are fewer than ISO 4217 lists: sanctioned and thinly traded
// ones are missing.
var currencies = func() map[string]bool {
	set := make(map[string]bool)
	for code := range strings.FieldsSeq(`
		AED ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BIF BMD BND BOB BRL BSD BWP BYN BZD
		CAD CDF CHF CLP CNY COP CRC CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL
		GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK JMD JPY KES KGS KHR KMF KRW
		KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN
		NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RWF SAR SBD SCR
		SEK SGD SHP SLE SOS SRD STN SZL THB TJS TOP TRY TTD TWD TZS UAH UGX USD UYU UZS
		VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW`) {
		set[code] = true
	}
	return set
}()
