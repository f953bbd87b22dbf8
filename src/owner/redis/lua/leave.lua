-- leave: mirrors domain/membership.rs
-- ARGV: 5 connection, 6 user, 7 1 if an admin, 8 whose membership, by peer id; empty: one's own.
local why = open()
if why then return refuse(why) end
touch()
local own, own_text = seat_of(ARGV[5])
local target, target_text
if ARGV[8] ~= '' then target, target_text = named(ARGV[8]) end
if own and (ARGV[8] == '' or (target and target.c == own.c)) then
  leave(own, own_text)
  rest()
  return done('"own":1')
end
if target and is_host(ARGV[6], ARGV[7]) then
  leave(target, target_text)
  tell('@' .. target.c, '{"out":"removed"}')
  rest()
  return done('"own":0')
end
if not own then return refuse('not_in_room') end
return refuse(target and 'peer_mismatch' or 'peer_not_found')
