package events

import "strings"

// currencies are the active codes of ISO 4217 list one as of 1 January 2026 that
// people pay in, by the digits of their minor unit. Left out are funds (CLF, USN),
// precious metals and accounting units (XAU, XDR) and codes for testing (XTS, XXX).
var currencies = func() map[string]int {
	list := map[int]string{
		0: `BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF`,
		2: `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD
			CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS
			GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP
			LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
			NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
			SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST
			XCD XCG YER ZAR ZMW ZWG`,
		3: `BHD IQD JOD KWD LYD OMR TND`,
	}
	digits := make(map[string]int)
	for n, codes := range list {
		for code := range strings.FieldsSeq(codes) {
			digits[code] = n
		}
	}
	return digits
}()

// ValidCurrency reports whether people pay in a currency with this ISO 4217 code.
// It is for what comes in: published events are read by their form alone, since
// one that was published must stay readable when a currency is given up.
func ValidCurrency(code string) bool {
	_, listed := currencies[code]
	return listed
}

// MinorUnits returns how many digits the minor unit of a currency has: 2 for GBP,
// 0 for JPY. For codes that are not listed it is 2, as for most.
func MinorUnits(code string) int {
	if digits, listed := currencies[code]; listed {
		return digits
	}
	return 2
}

// currencyForm reports whether s has the form of an ISO 4217 code.
func currencyForm(s string) bool {
	if len(s) != 3 {
		return false
	}
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}
