// SPDX-License-Identifier: Apache-2.0

package nft

import "github.com/mdlayher/netlink"

// Attribute returns the first attribute of the first type, in that the first of the next, and so on; nil if there is none.
func Attribute(data []byte, path ...uint16) []byte {
	for _, kind := range path {
		found := Attributes(data, kind)
		if len(found) == 0 {
			return nil
		}
		data = found[0]
	}
	return data
}

// Attributes returns the values of the attributes of that type.
func Attributes(data []byte, kind uint16) (values [][]byte) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil
	}
	for ad.Next() {
		if ad.Type() == kind {
			values = append(values, ad.Bytes())
		}
	}
	return values
}
