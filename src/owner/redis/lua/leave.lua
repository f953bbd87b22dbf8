-- leave: mirrors domain/membership.rs
-- A membership ends: that of the member `peer`, or the connection's own if `peer` is empty.
local connection, user_id, is_admin, peer, host_key = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local why = open()
if why then return refuse(why) end
touch()
local own, own_text = seat_of(connection)
local target, target_text
if peer ~= '' then target, target_text = named(peer) end
if own and (peer == '' or (target and target.c == own.c)) then
  leave(own, own_text)
  rest()
  return done('"own":1')
end
if target and is_host(user_id, is_admin, host_key) then
  leave(target, target_text)
  tell('@' .. target.c, '{"out":"removed"}')
  rest()
  return done('"own":0')
end
if not own then return refuse('not_in_room') end
return refuse(target and 'peer_mismatch' or 'peer_not_found')
