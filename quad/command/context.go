package command

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

func newContext(g *Globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Say which installations there are, and which is meant",
		Long: `A context is an installation of Quadrille: the addresses of its services, and where the
tokens, keys and URLs of databases are kept. --context names the one that a command is
for; otherwise it is the current one, or "local", the stack on this machine. Contexts are
in a file that QUADRILLE_CONFIG names (default: quadrille/contexts.yaml in your folder for
settings, such as ~/.config).`,
		Args: NoArgs,
		RunE: help,
	}
	cmd.AddCommand(newContextList(g), newContextShow(g), newContextUse(g), newContextAdd(g), newContextRemove(g))
	return cmd
}

func contexts() (*installation.File, error) {
	path, err := installation.FilePath()
	if err != nil {
		return nil, err
	}
	return installation.ReadFile(path)
}

// listed is a line of quad context ls.
type listed struct {
	Name     string `json:"name"`
	Current  bool   `json:"current"`
	Services int    `json:"services"`
	ReadOnly bool   `json:"read_only"`
	Where    string `json:"where"` // the host of one of its services
}

func newContextList(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the contexts",
		Args:    NoArgs,
		RunE: func(*cobra.Command, []string) error {
			file, err := contexts()
			if err != nil {
				return err
			}
			list := g.list(file)
			if g.JSON {
				return output.JSON(os.Stdout, list)
			}
			if len(list) == 0 {
				fmt.Println("there are no contexts; quad context add makes one")
				return nil
			}
			t := output.NewTable("", "CONTEXT", "SERVICES", "WHERE", "").AlignRight(2)
			for _, c := range list {
				mark, readOnly := "", ""
				if c.Current {
					mark = "*"
				}
				if c.ReadOnly {
					readOnly = "read_only"
				}
				t.Add(mark, c.Name, c.Services, c.Where, readOnly)
			}
			t.Print(os.Stdout)
			return nil
		},
	}
}

// list leaves local out where there is no checkout.
func (g *Globals) list(file *installation.File) []listed {
	list := []listed{}
	add := func(name string, c installation.Context) {
		current := name == file.Current || file.Current == "" && name == installation.Local
		list = append(list, listed{name, current, len(c.Services), c.ReadOnly, whereOf(&c)})
	}
	if local, err := g.local(); err == nil {
		add(installation.Local, local)
	}
	for _, name := range file.Names() {
		add(name, file.Contexts[name])
	}
	return list
}

func whereOf(c *installation.Context) string {
	for _, name := range c.ServiceNames() {
		s := c.Services[name]
		for _, address := range []string{s.Public, s.Admin} {
			if u, err := url.Parse(address); err == nil && u.Host != "" {
				return u.Hostname()
			}
		}
	}
	return ""
}

func newContextShow(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Print a context as it is in the file, without secrets",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				g.Context = args[0]
			}
			name, c, _, err := g.choose()
			if err != nil {
				return err
			}
			if c = c.Masked(); g.JSON {
				return output.JSON(os.Stdout, c)
			}
			text, err := yaml.Marshal(c)
			if err != nil {
				return err
			}
			fmt.Printf("# context %s\n%s", name, text)
			return nil
		},
	}
}

func newContextUse(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:     "use NAME",
		Short:   "Make a context the current one",
		Example: "  quad context use production\n  quad context use local",
		Args:    Exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := contexts()
			if err != nil {
				return err
			}
			file.Current = args[0]
			if file.Current == installation.Local {
				file.Current = ""
			} else if _, err := file.Context(file.Current); err != nil {
				return err
			}
			return g.write(file, "the current context is "+args[0])
		},
	}
}

func newContextAdd(g *Globals) *cobra.Command {
	var from string
	var use, replace bool
	cmd := &cobra.Command{
		Use:   "add NAME --file FILE",
		Short: "Add a context to your file",
		Long: `add reads a context as YAML and puts it into your file of contexts:

  read_only: true                # refuse commands that change something
  services:                      # those that you have access to
    order:
      public: https://shop.example.com
      admin: http://127.0.0.1:18402
      admin_token: {file: ~/.quadrille/order.admin}
      database: {env: ORDER_AUDIT_URL}
    identity: {public: https://shop.example.com, admin: http://127.0.0.1:18142}
    gateway: {public: https://shop.example.com, no_database: true}           # for quad login
  sign_in: {client: CLIENT_ID, secret: {file: ~/.quadrille/client.secret}}   # instead of admin tokens
  psp: {url: https://psp.example.com, key: {file: ~/.quadrille/psp.key}}
  erp: {url: https://erp.example.com, key: {file: ~/.quadrille/erp.key}}

Tokens, keys and URLs of databases are in a file, in an environment variable, or, if you
want that, in the context itself as {value: ...}. A relative file is in the folder of
your contexts. quad doctor --context NAME tries what it says.`,
		Example: "  quad context add production --file production.yaml --use\n  quad context add staging --file -",
		Args:    Exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := installation.CheckName(args[0]); err != nil {
				return UsageError{err}
			}
			c, err := readContext(cmd.InOrStdin(), from)
			if err != nil {
				return UsageError{err}
			}
			file, err := contexts()
			if err != nil {
				return err
			}
			if _, taken := file.Contexts[args[0]]; taken && !replace {
				return UsageError{fmt.Errorf("there is a context %s; --replace replaces it", args[0])}
			}
			file.Contexts[args[0]] = c
			if use {
				file.Current = args[0]
			}
			return g.write(file, fmt.Sprintf("added context %s to %s; try it: quad doctor --context %[1]s", args[0], file.Path))
		},
	}
	cmd.Flags().StringVar(&from, "file", "", "the context as YAML; - is standard input")
	cmd.Flags().BoolVar(&use, "use", false, "make it the current one")
	cmd.Flags().BoolVar(&replace, "replace", false, "replace the context of this name")
	return cmd
}

func readContext(stdin io.Reader, path string) (c installation.Context, err error) {
	var text []byte
	switch path {
	case "":
		return c, errors.New("say where the context is: --file FILE")
	case "-":
		text, err = io.ReadAll(stdin)
	default:
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return c, err
	}
	if c, err = installation.Parse(text); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func newContextRemove(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "rm NAME",
		Short: "Take a context out of your file",
		Long: `rm takes a context out of your file, and forgets who is signed in there. quad logout
before ends that session at identity too.`,
		Args: Exactly("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := contexts()
			if err != nil {
				return err
			}
			if _, there := file.Contexts[args[0]]; !there {
				return UsageError{fmt.Errorf("there is no context %s in %s", args[0], file.Path)}
			}
			if err := file.Remove(args[0]); err != nil {
				return err
			}
			return g.write(file, "removed context "+args[0])
		},
	}
}

func (g *Globals) write(file *installation.File, done string) error {
	if err := file.Write(); err != nil {
		return err
	}
	if !g.JSON {
		fmt.Println(done)
	}
	return nil
}
