package customer

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	customerv1 "quadrille.internal/events/proto/customer/v1"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/protorules"
)

const callTimeout = 5 * time.Second

// calls answers other services at once; see customer.proto.
type calls struct {
	customerv1.UnimplementedCustomersServer
	store *store
}

func (c *calls) register(r grpc.ServiceRegistrar) {
	customerv1.RegisterCustomersServer(protorules.Checked(r), c)
}

// Address returns an address of a customer.
func (c *calls) Address(ctx context.Context, req *customerv1.AddressRequest) (*customerv1.AddressResponse, error) {
	id, err := uuid.Parse(req.GetAddressId())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "address_id is a UUID")
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, removed, err := c.store.address(ctx, c.store.pool, req.GetCustomerId(), id)
	switch {
	case err != nil && pgtx.Transient(err):
		return nil, status.Error(codes.Unavailable, "customer cannot answer now; try again")
	case err != nil:
		c.store.log.ErrorContext(ctx, "an address cannot be read", "err", err)
		return nil, status.Error(codes.Internal, "customer failed")
	case a == nil:
		return nil, status.Error(codes.NotFound, "the customer has no such address")
	}
	return &customerv1.AddressResponse{Removed: removed, Address: &customerv1.PostalAddress{
		Recipient: a.Recipient, Lines: a.Lines, City: a.City, Region: a.Region, PostalCode: a.PostalCode, Country: a.Country, Phone: a.Phone,
	}}, nil
}
