-- join: mirrors domain/membership.rs
-- ARGV: 5 the member to be, 6 1 if an admin, 7 1 if a guest, 8 1 if a room that is not there is made, 9 its epoch.
local why = open(ARGV[8] == '1')
local seat = cjson.decode(ARGV[5])
if why then
  if ARGV[8] == '0' then return refuse(why) end
  make(ARGV[9], cjson.encode(seat.w), seat.w[1], ARGV[7], false)
  each('PEXPIRE', JOINED_IDLE)
end
touch()
local answer, refused = join(seat, ARGV[6])
return done(answer or '"x":"' .. refused .. '"')
