// Package gateway is the one public door: it verifies who calls, limits, and passes requests on.
package gateway
