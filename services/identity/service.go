// Package identity is the service that knows who somebody is: accounts, sessions, keys and tokens.
package identity
