// Package customer is the service that has the personal data of customers, and erases it.
package customer
