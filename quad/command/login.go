package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

func newLogin(g *Globals) *cobra.Command {
	var fromStdin bool
	cmd := &cobra.Command{
		Use:   "login EMAIL",
		Short: "Sign in as a person, through the gateway",
		Long: `login opens a session at identity with your e-mail address and password, which it asks
for on the terminal or reads from standard input with --password-stdin. What you do as
yourself, such as quad b2b approve, is done in that session until quad logout ends it, or
its time. It is kept for each context in a file that only you may read, beside your
contexts (for the stack on this machine: in its folder). The context needs
services.gateway.public.`,
		Example: "  quad login alice@example.com\n  quad login alice@example.com --password-stdin < password",
		Args:    Exactly("EMAIL"),
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, args []string) error {
			password, err := readPassword(cmd, fromStdin)
			if err != nil {
				return err
			}
			account, err := inst.Login(cmd.Context(), args[0], password)
			if err != nil {
				return err
			}
			if g.JSON {
				return output.JSON(os.Stdout, map[string]uuid.UUID{"account_id": account})
			}
			fmt.Printf("signed in as %s; quad whoami says what you may do\n", account)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&fromStdin, "password-stdin", false, "read the password from standard input")
	return cmd
}

// maxPassword is more than identity takes, in bytes.
const maxPassword = 64 << 10

func readPassword(cmd *cobra.Command, fromStdin bool) (string, error) {
	if fromStdin {
		text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxPassword))
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	terminal := int(os.Stdin.Fd())
	if !term.IsTerminal(terminal) {
		return "", UsageError{errors.New("standard input is no terminal to ask for the password; give it with --password-stdin")}
	}
	return askPassword(cmd.Context(), terminal)
}

// askPassword gives the terminal its echo back when it is interrupted.
func askPassword(ctx context.Context, terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	fmt.Fprint(os.Stderr, "password: ")
	defer fmt.Fprintln(os.Stderr)
	type answer struct {
		text []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() { // ends with the process where it is interrupted
		text, err := term.ReadPassword(terminal)
		read <- answer{text, err}
	}()
	select {
	case a := <-read:
		if a.err != nil {
			return "", fmt.Errorf("read the password: %w", a.err)
		}
		return string(a.text), nil
	case <-ctx.Done():
		return "", errors.Join(ctx.Err(), term.Restore(terminal, before))
	}
}

func newLogout(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "End the session of quad login",
		Long:  "logout ends the session at identity and forgets it. Where nobody is signed in it does nothing.",
		Args:  NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			there, err := inst.Logout(cmd.Context())
			switch {
			case err != nil:
				return err
			case g.JSON:
				return output.JSON(os.Stdout, map[string]bool{"signed_out": there})
			case there:
				fmt.Println("signed out")
			default:
				fmt.Println("nobody was signed in")
			}
			return nil
		}),
	}
}

func newWhoami(g *Globals) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Say who is signed in, what he may do and until when",
		Args:  NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			person, err := inst.Person(cmd.Context())
			if err != nil {
				return err
			}
			account, err := person.Account(cmd.Context())
			if err != nil {
				return fmt.Errorf("ask for the account: %w", err)
			}
			ends, err := person.SessionEnds(cmd.Context())
			if err != nil {
				return fmt.Errorf("ask for the session: %w", err)
			}
			if g.JSON {
				return output.JSON(os.Stdout, struct {
					api.Account
					SessionEnds time.Time `json:"session_ends"`
				}{account, ends})
			}
			t := output.NewTable("ACCOUNT", "COMPANY", "SCOPES", "GROUPS", "SESSION ENDS")
			t.Add(account.ID, account.Company, strings.Join(account.Scopes, " "), strings.Join(account.Groups, " "), ends.Local().Format("2006-01-02 15:04:05"))
			t.Print(os.Stdout)
			return nil
		}),
	}
}
