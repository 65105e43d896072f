package command

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"quadrille.internal/events"
	"quadrille.internal/platform/audit"
	"quadrille.internal/quad/api"
	"quadrille.internal/quad/installation"
	"quadrille.internal/quad/output"
)

func newOrderPlace(g *Globals) *cobra.Command {
	var skus []string
	var key string
	var watch bool
	order := api.NewOrder{}
	cmd := &cobra.Command{
		Use:   "place --sku SKU=QUANTITY@PRICE ... | --quote TOKEN",
		Short: "Place an order",
		Long: `place sends an order to checkout. A line is SKU=QUANTITY@PRICE, the price of one
unit in minor units (250 is 2.50). A quote says its customer, lines and prices itself.
Means of payment that the provider's stand-in knows: tok_success, tok_decline,
tok_insufficient_funds, tok_slow, tok_flaky, tok_rate_limited, tok_lost_reply,
tok_lost_reply_refund.`,
		Example: `  quad order place --sku A1=3@250 --sku B2=1@999 --watch
  quad order place --sku A1=1@250 --token tok_decline --customer c7
  quad order place --quote - < quote.jws`,
		Args: NoArgs,
		RunE: g.with(func(cmd *cobra.Command, inst *installation.Installation, _ []string) error {
			if err := complete(&order, skus, cmd.InOrStdin()); err != nil {
				return UsageError{err}
			}
			receipt, err := inst.Client.Place(cmd.Context(), cmp.Or(key, uuid.NewString()), order)
			if err != nil {
				return fmt.Errorf("place the order: %w", err)
			}
			switch {
			case watch:
				return watchOrder(cmd.Context(), g, inst, receipt.OrderID)
			case g.JSON:
				return output.JSON(os.Stdout, receipt)
			}
			fmt.Printf("placed order %s for %s\nfollow it: quad order watch %[1]s\n", receipt.OrderID, audit.Money(receipt.Total))
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringArrayVar(&skus, "sku", nil, "a line, SKU=QUANTITY@PRICE; repeat it for more lines")
	f.StringVar(&order.CustomerID, "customer", "c1", "who orders")
	f.StringVar(&order.Currency, "currency", "GBP", "ISO 4217 code of the prices")
	f.StringVar(&order.PaymentToken, "token", "tok_success", "means of payment")
	f.StringVar(&order.Quote, "quote", "", "the token of a quote, which says customer, lines and prices; - reads it from standard input")
	f.StringVar(&order.AddressID, "address", "", "where an order by quote goes: the id of an address of the customer")
	f.StringVar(&key, "key", "", "idempotency key: the same key places one order (default: a new one)")
	f.BoolVar(&watch, "watch", false, "follow the order until it is settled")
	for _, other := range []string{"sku", "customer", "currency"} {
		cmd.MarkFlagsMutuallyExclusive("quote", other)
	}
	return cmd
}

// complete fills in what is ordered: lines, or a quote with its customer.
func complete(order *api.NewOrder, skus []string, stdin io.Reader) (err error) {
	if order.Quote == "" {
		order.Lines, err = parseLines(skus)
		return err
	}
	if order.Quote == "-" {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return fmt.Errorf("read the quote: %w", err)
		}
		order.Quote = strings.TrimSpace(string(text))
	}
	order.Currency = ""
	order.CustomerID, err = customerOf(order.Quote)
	return err
}

// customerOf reads who a quote is for, in whose name it is ordered. Checkout verifies it.
func customerOf(token string) (string, error) {
	var quote struct {
		CustomerID string `json:"customer_id"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", errors.New("--quote is a token of three parts with dots between them, as price signed it")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &quote)
	}
	if err != nil {
		return "", fmt.Errorf("--quote is no token of price: %w", err)
	}
	return quote.CustomerID, nil
}

func parseLines(skus []string) ([]events.Line, error) {
	if len(skus) == 0 {
		return nil, errors.New("an order needs a line, --sku A1=3@250, or a quote, --quote TOKEN")
	}
	lines := make([]events.Line, len(skus))
	for i, text := range skus {
		line, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("--sku %s is not SKU=QUANTITY@PRICE such as A1=3@250", text)
		}
		lines[i] = line
	}
	return lines, nil
}

func parseLine(text string) (l events.Line, err error) {
	sku, rest, hasQuantity := strings.Cut(text, "=")
	quantity, price, hasPrice := strings.Cut(rest, "@")
	if !hasQuantity || !hasPrice || sku == "" {
		return l, errors.New("incomplete")
	}
	l.SKU = sku
	if l.Quantity, err = strconv.ParseInt(quantity, 10, 64); err != nil {
		return l, err
	}
	l.UnitPrice, err = strconv.ParseInt(price, 10, 64)
	return l, err
}
