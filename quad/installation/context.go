// Package installation names the installations of Quadrille that somebody works with, and
// connects to one of them.
//
// A context says where an installation is and where its secrets are kept. The contexts are
// in one file of the user's; the stack of this machine makes its own.
package installation

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
)

// Local is the context of the stack on this machine. It is in no file.
const Local = "local"

// A Context says where an installation is. What a command does not need may be left out.
type Context struct {
	// ReadOnly refuses commands that change something.
	ReadOnly bool               `yaml:"read_only,omitempty" json:"read_only,omitempty"`
	Services map[string]Service `yaml:"services" json:"services"`
	// SignIn, where set, has quad call admin ports that have no token here as a machine client
	// of identity, which has the scope operator.
	SignIn SignIn  `yaml:"sign_in,omitempty" json:"sign_in,omitzero"`
	PSP    Partner `yaml:"psp,omitempty" json:"psp,omitzero"`
	ERP    Partner `yaml:"erp,omitempty" json:"erp,omitzero"`
	// Traces is where the local stack's collector answers.
	Traces string `yaml:"traces,omitempty" json:"traces,omitempty"`

	// Dir is the folder for what commands write; default: the working folder.
	Dir string `yaml:"-" json:"-"`
}

// Service is where one service is.
type Service struct {
	Public     string `yaml:"public,omitempty" json:"public,omitempty"` // address of the public port
	Admin      string `yaml:"admin,omitempty" json:"admin,omitempty"`   // address of the admin port
	AdminToken Secret `yaml:"admin_token,omitempty" json:"admin_token,omitzero"`
	// Database is the URL of its database, as a role that may only read.
	Database Secret `yaml:"database,omitempty" json:"database,omitzero"`
	// NoDatabase says that the service has none, and so neither books nor parked events.
	NoDatabase bool `yaml:"no_database,omitempty" json:"no_database,omitempty"`
}

// SignIn are the credentials of a machine client of identity.
type SignIn struct {
	Client string `yaml:"client,omitempty" json:"client,omitempty"`
	Secret Secret `yaml:"secret,omitempty" json:"secret,omitzero"`
}

// Partner is the API of a third party, whose books quad verify reads.
type Partner struct {
	URL string `yaml:"url,omitempty" json:"url,omitempty"`
	Key Secret `yaml:"key,omitempty" json:"key,omitzero"`
}

// check names every setting that cannot be right. It reads no secret.
func (c *Context) check() error {
	var faults []error
	add := func(setting string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", setting, err))
		}
	}
	if len(c.Services) == 0 {
		add("services", errors.New("there are none"))
	}
	for _, name := range c.ServiceNames() {
		s, at := c.Services[name], "services."+name
		add(at+".public", checkAddress(s.Public))
		add(at+".admin", checkAddress(s.Admin))
		add(at+".admin_token", s.AdminToken.check())
		add(at+".database", s.Database.check())
		if s.NoDatabase && s.Database.isSet() {
			add(at+".no_database", errors.New("there is a database too"))
		}
	}
	add("sign_in.secret", c.SignIn.Secret.check())
	if c.SignIn.Secret.isSet() && c.SignIn.Client == "" {
		add("sign_in.client", errors.New("is not set, but its secret is"))
	}
	add("psp.url", checkAddress(c.PSP.URL))
	add("psp.key", c.PSP.Key.check())
	add("erp.url", checkAddress(c.ERP.URL))
	add("erp.key", c.ERP.Key.check())
	add("traces", checkAddress(c.Traces))
	return errors.Join(faults...)
}

func checkAddress(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%q is no address such as http://127.0.0.1:18102", text)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the address of %s has more than scheme, host and path", u.Host)
	}
	return nil
}

// ServiceNames are the services, by name.
func (c *Context) ServiceNames() []string { return slices.Sorted(maps.Keys(c.Services)) }

// WithDatabase are the services that have a database, by name.
func (c *Context) WithDatabase() []string {
	return slices.DeleteFunc(c.ServiceNames(), func(name string) bool { return c.Services[name].NoDatabase })
}

// Masked is the context without the secrets that are in it, to be shown.
func (c *Context) Masked() Context {
	masked := *c
	masked.Services = make(map[string]Service, len(c.Services))
	for name, s := range c.Services {
		s.AdminToken, s.Database = s.AdminToken.masked(), s.Database.masked()
		masked.Services[name] = s
	}
	masked.SignIn.Secret = c.SignIn.Secret.masked()
	masked.PSP.Key, masked.ERP.Key = c.PSP.Key.masked(), c.ERP.Key.masked()
	return masked
}
