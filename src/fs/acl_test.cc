#include "fs/acl.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

namespace tarn::fs {
namespace {

using E = AclEntry;

Acl named() {
  return {{E::kUserObj, 7, ~0u}, {E::kUser, 6, 1001}, {E::kGroupObj, 5, ~0u},
          {E::kGroup, 7, 2002},  {E::kMask, 6, ~0u},  {E::kOther, 0, ~0u}};
}

Caller caller(uint32_t uid, uint32_t gid, std::vector<uint32_t> groups = {}) {
  Caller c;
  c.uid = uid;
  c.gid = gid;
  c.groups = std::move(groups);
  return c;
}

TEST(Acl, EncodingRoundTripsAndIsTheKernels) {
  std::string bytes = encode_acl({{E::kUserObj, 7, ~0u}, {E::kGroupObj, 5, ~0u}, {E::kOther, 4, ~0u}});
  EXPECT_EQ(bytes.size(), 4u + 3 * 8);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x02\0\0\0\x01\0\x07\0", 8));
  auto acl = decode_acl(bytes);
  ASSERT_TRUE(acl.is_ok());
  EXPECT_TRUE(acl_is_minimal(*acl));
  EXPECT_EQ(acl_mode(*acl), 0754u);
  EXPECT_EQ(encode_acl(*decode_acl(encode_acl(named()))), encode_acl(named()));
}

TEST(Acl, RefusesMalformedOnes) {
  EXPECT_EQ(decode_acl("").code(), Code::kInvalidArgument);
  EXPECT_EQ(decode_acl("\x01\0\0\0").code(), Code::kInvalidArgument);
  std::string cut = encode_acl(named());
  cut.pop_back();
  EXPECT_EQ(decode_acl(cut).code(), Code::kInvalidArgument);
  Acl no_mask = {{E::kUserObj, 7, ~0u}, {E::kUser, 7, 5}, {E::kGroupObj, 5, ~0u}, {E::kOther, 0, ~0u}};
  EXPECT_EQ(decode_acl(encode_acl(no_mask)).code(), Code::kInvalidArgument);
  Acl two_owners = {{E::kUserObj, 7, ~0u}, {E::kUserObj, 7, ~0u}, {E::kGroupObj, 5, ~0u},
                    {E::kOther, 0, ~0u}};
  EXPECT_EQ(decode_acl(encode_acl(two_owners)).code(), Code::kInvalidArgument);
}

TEST(Acl, ModeIsMaskAndChmodChangesTheMask) {
  EXPECT_EQ(acl_mode(named()), 0760u);
  Acl changed = acl_after_chmod(named(), 0640);
  EXPECT_EQ(acl_mode(changed), 0640u);
  EXPECT_EQ(changed[2].permissions, 5) << "group-obj stays when there is a mask";
}

TEST(Acl, DefaultIsInherited) {
  InheritedAcl file = inherit_acl(named(), S_IFREG | 0666, false);
  EXPECT_EQ(file.mode & 0777u, 0660u);
  ASSERT_TRUE(file.access);
  EXPECT_FALSE(file.default_acl);
  InheritedAcl directory = inherit_acl(named(), S_IFDIR | 0777, true);
  ASSERT_TRUE(directory.default_acl);
  EXPECT_EQ(*directory.default_acl, encode_acl(named()));
}

TEST(Permission, BitsChooseTheFirstClassThatMatches) {
  const uint32_t mode = S_IFREG | 0460;
  EXPECT_TRUE(may_access(caller(10, 20), mode, 10, 20, nullptr, 4));
  EXPECT_FALSE(may_access(caller(10, 20), mode, 10, 20, nullptr, 2)) << "owner class only";
  EXPECT_TRUE(may_access(caller(11, 20), mode, 10, 20, nullptr, 2));
  EXPECT_TRUE(may_access(caller(11, 99, {20}), mode, 10, 20, nullptr, 6));
  EXPECT_FALSE(may_access(caller(11, 21), mode, 10, 20, nullptr, 4));
  EXPECT_TRUE(may_access(caller(0, 0), mode, 10, 20, nullptr, 6));
  EXPECT_FALSE(may_access(caller(0, 0), mode, 10, 20, nullptr, 1)) << "root runs nothing without an x";
}

TEST(Permission, AclEntriesAreMasked) {
  Acl acl = named();
  const uint32_t mode = S_IFREG | acl_mode(acl);
  EXPECT_TRUE(may_access(caller(1001, 9), mode, 10, 20, &acl, 6));
  EXPECT_TRUE(may_access(caller(55, 2002), mode, 10, 20, &acl, 6));
  EXPECT_FALSE(may_access(caller(55, 2002), mode, 10, 20, &acl, 1)) << "the mask has no x";
  EXPECT_FALSE(may_access(caller(55, 66), mode, 10, 20, &acl, 4));
}

}  // namespace
}  // namespace tarn::fs
