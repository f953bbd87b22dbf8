-- vanish: mirrors domain/membership.rs
-- ARGV: 5 connection.
local why = open()
if why then return refuse('room_not_found') end
touch()
local seat, text = seat_of(ARGV[5])
if seat then
  leave(seat, text)
  rest()
end
return done('"r":1')
