-- set_mode: mirrors domain/call.rs
-- The host or an admin has media go from peer to peer ("p2p") or through a media server ("sfu"), or lets the callers decide
-- ("auto").
local by, is_admin, host_key, wanted = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local why = open()
if why then return refuse(why) end
touch()
if not is_host(by, is_admin, host_key) then return refuse('host_only') end
if has_modes then
  if wanted == 'auto' then call('HDEL', key, 'cw') else call('HSET', key, 'cw', wanted) end
  has_call_news = true
end
rest()
return done('"r":1')
