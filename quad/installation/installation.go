package installation

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/provider"
)

// databaseTimeout is how long a connection to a database may take to be made.
const databaseTimeout = 10 * time.Second

// Installation is one that a context leads to, as commands use it. Connections are made,
// and secrets read, when they are first needed: who has no access to databases can still
// replay parked events. It is for one goroutine at a time, its clients are for many.
type Installation struct {
	Name string
	Context
	// Client calls the services' public ports, and their admin ports for what concerns orders,
	// stock and companies.
	Client *api.Client

	where    string     // the context's file, "" for the local stack
	login    *api.Login // nil where the context does not sign in
	loginErr error
	person   *api.Person // nil until it is needed
	admins   map[string]*api.Admin
	pools    map[string]*pgxpool.Pool
	ledger   *provider.Client
	erp      *provider.ERP
}

// Options of Open.
type Options struct {
	// File has the context; nil for the stack on this machine.
	File *File
	// RetryFor is that of api.New.
	RetryFor time.Duration
}

// Open prepares the connections to an installation.
func Open(name string, c Context, opts Options) *Installation {
	i := &Installation{
		Name: name, Context: c,
		admins: make(map[string]*api.Admin), pools: make(map[string]*pgxpool.Pool),
	}
	if opts.File != nil {
		i.where = opts.File.Path
	}
	i.login, i.loginErr = i.signIn()
	i.Client = api.New(api.URLs{
		Checkout: i.public("checkout"), Order: i.public("order"), B2B: i.public("b2b"),
		InventoryAdmin: i.admin("inventory"), OrderAdmin: i.admin("order"), B2BAdmin: i.admin("b2b"),
		IdentityAdmin: i.identity(),
	}, opts.RetryFor)
	return i
}

// AdminPort is that of a service. What is missing is its Err.
func (i *Installation) AdminPort(service string) api.Access { return i.admin(service) }

// identity is the admin port of identity, or the zero value where there is none.
func (i *Installation) identity() api.Access {
	if _, has := i.Services["identity"]; !has {
		return api.Access{}
	}
	return i.admin("identity")
}

// File is where the context is; "" is the stack on this machine.
func (i *Installation) File() string { return i.where }

// Close ends all connections.
func (i *Installation) Close() {
	i.Client.Close()
	if i.login != nil {
		i.login.Close()
	}
	if i.person != nil {
		i.person.Close()
	}
	for _, a := range i.admins {
		a.Close()
	}
	for _, pool := range i.pools {
		pool.Close()
	}
	if i.ledger != nil {
		i.ledger.Close()
	}
	if i.erp != nil {
		i.erp.Close()
	}
}

// Admin is the admin port of a service. What is missing is told by its calls.
func (i *Installation) Admin(service string) *api.Admin {
	if i.admins[service] == nil {
		i.admins[service] = api.NewAdmin(i.admin(service))
	}
	return i.admins[service]
}

// Database is the database of a service, to be read only.
func (i *Installation) Database(ctx context.Context, service string) (*pgxpool.Pool, error) {
	if pool := i.pools[service]; pool != nil {
		return pool, nil
	}
	setting := "services." + service + ".database"
	text, err := i.secret(setting, i.Services[service].Database)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, i.fault(setting, "is no URL of a database, postgres://user:password@host:port/name")
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = databaseTimeout
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("database of %s: %w", service, err)
	}
	i.pools[service] = pool
	return pool, nil
}

// Databases are those of all services that have one, by name.
func (i *Installation) Databases(ctx context.Context) (map[string]*pgxpool.Pool, error) {
	for _, service := range slices.Concat(i.WithDatabase(), needed) {
		if _, err := i.Database(ctx, service); err != nil {
			return nil, err
		}
	}
	return i.pools, nil
}

// needed are the services whose books make up an order.
var needed = []string{"checkout", "inventory", "payment", "order"}

// Ledger is the payment provider's.
func (i *Installation) Ledger() (*provider.Client, error) {
	key, err := i.partner("psp", i.PSP)
	if err == nil && i.ledger == nil {
		i.ledger = provider.New(i.PSP.URL, key)
	}
	return i.ledger, err
}

// ERPBooks are the ERP's.
func (i *Installation) ERPBooks() (*provider.ERP, error) {
	key, err := i.partner("erp", i.ERP)
	if err == nil && i.erp == nil {
		i.erp = provider.NewERP(i.ERP.URL, key)
	}
	return i.erp, err
}

func (i *Installation) partner(name string, p Partner) (key string, err error) {
	if p.URL == "" {
		return "", i.missing(name + ".url")
	}
	return i.secret(name+".key", p.Key)
}

// signIn returns who quad is to identity, or nil where the context does not say.
func (i *Installation) signIn() (*api.Login, error) {
	if i.SignIn.Client == "" {
		return nil, nil
	}
	secret, err := i.secret("sign_in.secret", i.SignIn.Secret)
	if err != nil {
		return nil, err
	}
	address := i.Services["identity"].Public
	if address == "" {
		return nil, i.missing("services.identity.public")
	}
	return api.NewLogin(api.Access{URL: address}, api.Credentials{ID: i.SignIn.Client, Secret: secret}), nil
}

func (i *Installation) public(service string) api.Access {
	if address := i.Services[service].Public; address != "" {
		return api.Access{URL: address}
	}
	return api.Access{Err: i.missing("services." + service + ".public")}
}

func (i *Installation) admin(service string) (a api.Access) {
	at := i.Services[service]
	if at.Admin == "" {
		return api.Access{Err: i.missing("services." + service + ".admin")}
	}
	if i.SignIn.Client != "" && !at.AdminToken.isSet() {
		return api.Access{URL: at.Admin, Login: i.login, Err: i.loginErr}
	}
	token, err := i.secret("services."+service+".admin_token", at.AdminToken)
	return api.Access{URL: at.Admin, Token: token, Err: err}
}

func (i *Installation) secret(setting string, s Secret) (string, error) {
	if !s.isSet() {
		return "", i.missing(setting)
	}
	text, err := s.read(filepath.Dir(i.where))
	if err != nil {
		return "", i.fault(setting, err.Error())
	}
	return text, nil
}

func (i *Installation) missing(setting string) error {
	return i.fault(setting, "is not set, and this command needs it")
}

func (i *Installation) fault(setting, problem string) error {
	return &EnvironmentError{fmt.Sprintf("context %s: %s: %s", i.Name, setting, problem), i.remedy()}
}

func (i *Installation) remedy() string {
	if i.where == "" {
		return "`make up` starts Quadrille; `quad doctor` says what is missing"
	}
	return "mend it in " + i.where
}

// Explain turns an error of the network into what can be done about it.
func (i *Installation) Explain(err error) error {
	if problem, ok := errors.AsType[*api.Problem](err); ok && problem.Code == "token" {
		return i.fault("services."+i.serviceAt(problem.URL)+".admin_token", "the service has another")
	}
	if errors.Is(err, api.ErrSessionEnded) {
		return i.sessionFault(oneLine(err), "sign in again: "+i.loginCommand())
	}
	switch {
	case i.where != "" && Unreachable(err):
		return &EnvironmentError{
			fmt.Sprintf("context %s: %s", i.Name, oneLine(err)),
			fmt.Sprintf("is it running, and the port forwarded? `quad doctor --context %s` tries each address of %s", i.Name, i.where),
		}
	case i.where == "" && errors.Is(err, syscall.ECONNREFUSED):
		return &EnvironmentError{Problem: "Quadrille is not running, or not all of it", Remedy: "run `make up`; `quad doctor` says what is missing"}
	}
	return err
}

// Unreachable reports whether a request or a login got no answer, or none that helps.
func Unreachable(err error) bool {
	_, http := errors.AsType[*url.Error](err)
	_, database := errors.AsType[*pgconn.ConnectError](err)
	return (http || database) && !errors.Is(err, context.Canceled)
}

// serviceAt is the service with the admin port that a request went to.
func (i *Installation) serviceAt(address string) string {
	for name, s := range i.Services {
		if s.Admin != "" && strings.HasPrefix(address, strings.TrimSuffix(s.Admin, "/")+"/") {
			return name
		}
	}
	return "?"
}
