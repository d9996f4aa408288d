
/* Initial values: struct_size set, the rest default. */
#define CDPS_ERROR_INIT { (uint32_t)sizeof(cdps_error_t), 0, 0, 0, { 0 } }
#define CDPS_STREAM_CONTRACT_INIT { (uint32_t)sizeof(cdps_stream_contract_t), 0, 0, 0 }
#define CDPS_SEND_OPTS_INIT { (uint32_t)sizeof(cdps_send_opts_t), 0, 0, 0, 0, 0, NULL, 0, 0 }
#define CDPS_PORT_CALLBACKS_INIT \
    { (uint32_t)sizeof(cdps_port_callbacks_t), 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }
#define CDPS_CLIENT_CALLBACKS_INIT { (uint32_t)sizeof(cdps_client_callbacks_t), 0, NULL, NULL, NULL }
#define CDPS_NODE_CALLBACKS_INIT { (uint32_t)sizeof(cdps_node_callbacks_t), 0, NULL, NULL }
#define CDPS_NODE_STATS_INIT { (uint32_t)sizeof(cdps_node_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_PORT_STATS_INIT { (uint32_t)sizeof(cdps_port_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_PATH_STATS_INIT { (uint32_t)sizeof(cdps_path_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_PORT_INFO_INIT { (uint32_t)sizeof(cdps_port_info_t), 0, 0, 0, { 0, 0, 0 }, { 0, 0 } }
#define CDPS_TIMERS_INIT { (uint32_t)sizeof(cdps_timers_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define CDPS_CONFIG_KEY_INIT { (uint32_t)sizeof(cdps_config_key_t), 0, NULL, NULL, NULL, NULL, NULL }

/**
 * Opens a node: binds its listeners, starts its threads, begins to dial its members. Arguments and return values are those of
 * cdps_node_open_abi(); the ABI that the program was compiled for goes along.
 */
static inline int32_t CDPS_MUST_USE cdps_node_open(const cdps_config_t *config,
                                                   const cdps_node_callbacks_t *callbacks,
                                                   void *user,
                                                   cdps_node_t **out,
                                                   cdps_error_t *err)
{
    return cdps_node_open_abi(CDPS_ABI, config, callbacks, user, out, err);
}

#endif /* CDPS_H */
